export { nats } from "./nats";
export type { NatsOptions } from "./options";
export { Relay, startRelay } from "../relay/index";
export type { LeadershipReport, RelayOptions, RelayReport, RelayRole, RescanCause } from "../relay/index";
