export { nats } from "./nats";
export type { NatsOptions } from "./options";
