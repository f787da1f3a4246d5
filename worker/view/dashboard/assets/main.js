// Keeps the page up to date. Without scripts the pages work too, and update on reload.
import { install } from "./copy.js";
import { follow } from "./live.js";
import { tick } from "./times.js";

install();
tick();
setInterval(tick, 1000);
if (document.body.dataset.follow) follow(document.body.dataset.follow);
