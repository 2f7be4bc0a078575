// A page that only has words, such as "no such page": the header works all the same.

import { startShell } from "../core/shell.js";

await startShell();
