// Stands in for the national patient registry.
const registry = {
  'KEN-0123': { given: 'Amina', family: 'Otieno', born: '1996-04-02', phone: '+254700000123' },
  'KEN-0456': { given: 'Joseph', family: 'Mwangi', born: '1958-11-19', phone: null },
};

const findPatient = id => {
  const patient = registry[id];
  if (!patient) {
    throw new Error(`No patient ${id} in the registry`);
  }
  return { id, ...patient };
};

fn(state => {
  const id = state.data.patient.id.trim().toUpperCase();
  return { ...state, patient: findPatient(id) };
});
