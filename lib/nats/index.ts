export { nats } from "./nats";
export type { NatsOptions } from "./options";
export { startRelay } from "../relay/index";
export type { LeadershipReport, Relay, RelayOptions, RelayReport, RelayRole, RescanCause } from "../relay/index";
