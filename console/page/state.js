// What the page knows: the flows that are in the table, what waits, and which view is open.

export const VIEWS = ["flows", "map", "preview"];
export const ROWS_MOST = 500;  // rows kept while live; loading older flows raises it

export const state = {
  rows: new Map(),      // id -> row
  trs: new Map(),       // id -> table row
  most: ROWS_MOST,
  next: null,           // cursor of older flows
  trimmed: false,       // whether rows were taken off the end, so that older flows begin at the last row
  waiting: [],          // events that came while paused, or since the last frame
  lost: 0,              // flows that were not shown because there were too many
  paused: false,
  connected: false,
  loaded: false,
  refused: false,       // whether the filters make no sense
  status: null,
  open: null,           // id of the flow in the panel
  stream: null,
  asked: 0,             // number of the last question, so that late answers are ignored
  view: "flows",        // or another of VIEWS
  map: null,            // the last answer of the map
};
