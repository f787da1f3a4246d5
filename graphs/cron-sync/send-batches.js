const BATCH_SIZE = 2;

// The ministry wants to know the source of a row, and must not learn a name.
const withoutName = row => splitKeys(row, ['name'])[0];

fn(state => {
  const rows = merge('$.changes[*]', fields(field('source', 'clinic-register')))(state);
  return { ...state, changes: rows.map(withoutName), sent: [] };
});

as('byDistrict', group($.changes, 'district'));

// Stands in for one request per batch.
each(
  state => chunk(state.changes, BATCH_SIZE),
  fn(state => {
    const ids = arrayToString(state.data.map(row => row.id), ', ');
    return { ...state, sent: [...state.sent, { batch: state.index + 1, ids }] };
  })
);
