import type { Bench } from "./bench";
import type { RowResult, Target } from "./result";
import type { Sample } from "./sample";

/** The alternative that a row compares the library with. */
export interface Reference {
  /** As the table shows it. */
  readonly name: string;
  /** Says what it does, in one or two sentences. */
  readonly description: string;
  /** The file and the function that run it. */
  readonly code: readonly [file: string, name: string];
}

/** The two sides of a row, ready to be measured. */
export interface Contest {
  ours(): Promise<Sample>;
  /** Absent if there is nothing to compare with. */
  reference?(): Promise<Sample>;
  /** Releases what was prepared. */
  end?(): Promise<void> | void;
}

/** One row of the table: a question, and how to measure the answer. */
export interface Row {
  readonly name: string;
  /** Absent if the figure counts by itself. */
  readonly reference?: Reference;
  readonly unit: RowResult["unit"];
  /** Absent if the figure is for information only. */
  readonly target?: Target;
  /** @throws {@link NotMeasured} This machine cannot measure it. */
  prepare(bench: Bench): Contest | Promise<Contest>;
}
