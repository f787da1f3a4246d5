// Text messages cost money: only what is urgent is sent by SMS, and a patient needs a phone.
const sendSms = (to, text) => {
  if (!to) {
    throw new Error('no phone number');
  }
  return { channel: 'sms', to, text };
};

fn(state => {
  const { referral } = state.data;
  const text = `${state.priority} referral ${referral.id} from ${referral.from}`;
  return { ...state, notifications: [{ channel: 'dashboard', to: referral.to, text }] };
});

// A patient whom no SMS reaches is called by a community health worker: handled here, on the spot.
fn(state => {
  const sms = sendSms(state.patient.phone, `You are expected at ${state.data.referral.to}`);
  return { ...state, notifications: [...state.notifications, sms] };
}).catch((error, state) => {
  console.warn(`Patient ${state.patient.id}: ${error.message}`);
  const visit = { channel: 'health-worker', to: state.patient.id, text: 'Please visit' };
  return { ...state, notifications: [...state.notifications, visit] };
});
