// Times as people say them: how long ago, or how long still.

const began = performance.now();
const server = Number(document.body.dataset.now);

/** The server's time in microseconds, whatever this machine's clock says. */
function now() {
  return server + (performance.now() - began) * 1000;
}

function spent(microseconds) {
  const seconds = Math.max(0, Math.floor(microseconds / 1e6));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} d`;
}

function say(element, text) {
  element.title ||= element.dateTime;
  if (element.textContent !== text) element.textContent = text;
}

/** Bring all times of the page up to date. */
export function tick() {
  for (const one of document.querySelectorAll("time[data-at]")) {
    const past = spent(now() - Number(one.dataset.at));
    say(one, one.closest(".took") ? past : `${past} ago`);
  }
  for (const one of document.querySelectorAll("time[data-until]")) {
    const left = Number(one.dataset.until) - now();
    say(one, left > 0 ? `${spent(left)} left` : "expired");
  }
}
