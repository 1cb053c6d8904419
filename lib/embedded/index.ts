export type { EmbeddedPostgres, StopMode } from "./cluster";
export { EmbeddedPostgresError } from "./errors";
export type { EmbeddedPostgresFailure } from "./errors";
export type { EmbeddedPostgresOptions } from "./options";
export { startEmbeddedPostgres } from "./start";
