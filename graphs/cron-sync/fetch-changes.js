fn(state => ({ ...state, changes: [] }));

// Inside of each, state.data is the page.
each(
  $.source.pages,
  fn(state => {
    const newer = state.data.rows.filter(row => row.updated > state.cursor);
    return { ...state, changes: [...state.changes, ...newer] };
  })
);

// each leaves the last page in state.data, and its index: neither is of use downstream.
fn(({ source, index, ...state }) => ({ ...state, data: {} }));

debug('Changes:', $.changes);
