export { nats } from "./nats";
export type { NatsOptions } from "./options";
export type { ListenReport } from "../notifications/notifier";
export { startRelay } from "../relay/index";
export type { LeadershipReport, Relay, RelayOptions, RelayReport, RelayRole, RescanCause } from "../relay/index";
