// Keeps the page up to date. Without scripts the pages work too, and update on reload.
import { follow } from "./live.js";
import { tick } from "./times.js";

tick();
setInterval(tick, 1000);
if (document.body.dataset.follow) follow(document.body.dataset.follow);
