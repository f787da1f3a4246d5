const notifiable = ['cholera', 'measles', 'polio', 'ebola'];
const preventable = ['measles', 'polio', 'yellow fever'];

fn(state => {
  const disease = state.data.disease.toLowerCase();
  return { ...state, data: { ...state.data, disease } };
});

fn(state => {
  const { disease, camp } = state.data;
  const routes = [
    notifiable.includes(disease) && 'outbreak',
    preventable.includes(disease) && 'vaccination',
    camp && 'camp',
  ].filter(Boolean);
  return { ...state, routes };
});

log('Routes:', $.routes);
