import type { RegisterCommand } from "../command";
import { dashboard } from "./dashboard";
import { demo } from "./demo";
import { doctor } from "./doctor";
import { get } from "./get";
import { group } from "./group";
import { migrate } from "./migrate";
import { prune } from "./prune";
import { relay } from "./relay";
import { status } from "./status";
import { store } from "./store";
import { wait } from "./wait";
import { watch } from "./watch";

/** All commands, in the order of the help. A new one is a file here and a line there. */
export const commands: readonly RegisterCommand[] = [
  migrate,
  status,
  doctor,
  store,
  get,
  wait,
  group,
  watch,
  prune,
  dashboard,
  relay,
  demo,
];
