export { type EmbeddedPostgres, startEmbeddedPostgres } from "./embedded-postgres";
export { EmbeddedPostgresError, type EmbeddedPostgresFailure, type EmbeddedPostgresOptions } from "./options";
export type { StopMode } from "./server";
