// Relative times: how long ago, or how long until.

const began = performance.now();
const server = Number(document.body.dataset.now);

/** Return the server's time in microseconds: this machine's clock may be wrong. */
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

function setText(element, text) {
  element.title ||= element.dateTime;
  if (element.textContent !== text) element.textContent = text;
}

/** Update all times of the page. */
export function tick() {
  for (const element of /** @type {NodeListOf<HTMLTimeElement>} */ (document.querySelectorAll("time[data-at]"))) {
    const past = spent(now() - Number(element.dataset.at));
    setText(element, element.closest(".took") ? past : `${past} ago`);
  }
  for (const element of /** @type {NodeListOf<HTMLTimeElement>} */ (document.querySelectorAll("time[data-until]"))) {
    const left = Number(element.dataset.until) - now();
    setText(element, left > 0 ? `${spent(left)} left` : "expired");
  }
}
