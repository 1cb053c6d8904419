/** What stood in the way of an embedded server; for decisions in code, since the text of a message may change. */
export type EmbeddedPostgresFailure =
  | "invalid-option"
  | "not-installed"
  | "unsupported-platform"
  | "not-runnable"
  | "data-folder"
  | "temp-folder"
  | "port-in-use"
  | "start-failed"
  | "stop-failed";

/** The embedded server could not be started or stopped. The message says why, and what to do about it. */
export class EmbeddedPostgresError extends Error {
  override readonly name = "EmbeddedPostgresError";
  readonly code = "EMBEDDED_POSTGRES";

  constructor(
    /** The kind of failure. */
    readonly failure: EmbeddedPostgresFailure,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
