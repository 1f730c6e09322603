import { Charts } from "./charts.js";

new Charts(document.getElementById("charts")).load();
