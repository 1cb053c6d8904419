import type { ResolvedOptions } from "../options";
import type { Results } from "../results/results";
import type { Writer } from "../results/writer";
import type { Health, HealthParts } from "./health";
import type { Inspector } from "./inspection";

/** The outcome of one check. */
export interface Finding {
  /**
   * `problem`: waits are slow, miss notifications, or fail. `warning`: this may happen later. `unknown`: the check
   * could not run.
   */
  readonly verdict: "ok" | "warning" | "problem" | "unknown";
  readonly finding: string;
  /** How to fix it; undefined if there is nothing to fix. */
  readonly remedy: string | undefined;
}

export interface DiagnosisParts extends HealthParts {
  readonly options: ResolvedOptions;
  readonly database: HealthParts["database"];
  readonly writer: Writer;
  readonly results: Results;
  ready(): Promise<void>;
}

/** What the checks look at. */
export interface CheckContext {
  readonly parts: DiagnosisParts;
  readonly inspector: Inspector;
  readonly schema: string;
  /** 0 before the first migration; undefined if the role may not read it. */
  readonly schemaVersion: number | undefined;
  /** Read after LISTEN was confirmed or given up. */
  readonly health: Health;
  /** Name of the notifier, such as `NATS`; undefined for LISTEN. */
  readonly notifier: string | undefined;
}

export type Check = (context: CheckContext) => Finding | Promise<Finding>;

export const ok = (finding: string): Finding => ({ verdict: "ok", finding, remedy: undefined });
export const warning = (finding: string, remedy: string): Finding => ({ verdict: "warning", finding, remedy });
export const problem = (finding: string, remedy: string): Finding => ({ verdict: "problem", finding, remedy });
export const unknown = (finding: string, remedy?: string): Finding => ({ verdict: "unknown", finding, remedy });
