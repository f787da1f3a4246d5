// Every job can name `state`: it is the step's input, here before any operation has changed it.
fn(() => ({ ...state, seen: [] }));

// The callback changes the state that the operation received.
collections.each(
  'visits',
  state => ({ key: `${state.month}-*` }),
  (state, visit) => {
    state.seen.push(visit.patient);
  }
);

fn(({ seen, expected, month }) => ({
  month,
  missed: expected.filter(patient => !seen.includes(patient)),
}));
