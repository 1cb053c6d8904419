export { startRelay } from "./relay";
export type { Relay, RelayOptions } from "./relay";
export type { RelayReport, RelayRole } from "./report";
export type { RescanCause } from "./counters";
export type { LeadershipReport } from "./leadership";
