// Refuse what no facility could act on, before anybody is asked about a patient.
fn(state => {
  const { referral } = state.data;
  const missing = ['id', 'from', 'to', 'reason'].filter(key => !referral[key]);
  if (missing.length > 0) {
    throw new Error(`The referral lacks ${missing.join(', ')}`);
  }
  return state;
});

assert(
  state => state.data.referral.from !== state.data.referral.to,
  'A facility cannot refer a patient to itself'
);

fn(state => {
  const urgent = /haemorrhage|eclampsia|sepsis/i.test(state.data.referral.reason);
  return { ...state, priority: urgent ? 'urgent' : 'routine' };
});
