// The page works without this. With it, the page keeps itself up to date.
import { follow } from "./live.js";
import { tick } from "./times.js";

tick();
setInterval(tick, 1000);
if (document.body.dataset.follow) follow(document.body.dataset.follow);
