import { dataValue, dateFns, field, fields, fn, sourceValue } from '@openfn/language-common';

const referredOn = ({ data }) => {
  const date = dateFns.parse(data.referral.date, 'yyyy-MM-dd', new Date(0));
  return dateFns.format(date, 'd MMM yyyy');
};

// Stands in for the hospital's records: what has the same referral_id is replaced.
const upsert = (records, row) => [
  ...records.filter(other => other.referral_id !== row.referral_id),
  row,
];

fn(state => {
  const row = fields(
    field('referral_id', dataValue('referral.id')(state)),
    field('patient_id', sourceValue('$.patient.id')(state)),
    field('referred_on', referredOn(state)),
    field('from_facility', dataValue('referral.from')(state)),
    field('to_facility', dataValue('referral.to')(state)),
    field('reason', dataValue('referral.reason')(state)),
    field('priority', state.priority)
  );
  return { ...state, records: upsert(state.records ?? [], row) };
});
