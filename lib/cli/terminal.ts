/** Where a command writes to: a terminal, if `isTTY`. */
export type Output = NodeJS.WritableStream & {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
};

/** Everything that a command has of the process it runs in. */
export interface Terminal {
  readonly in: NodeJS.ReadableStream;
  readonly out: Output;
  readonly err: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts when the command should end, with the name of the signal as its reason. */
  readonly interrupted: AbortSignal;
}
