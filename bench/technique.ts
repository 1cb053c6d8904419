import { randomBytes } from "node:crypto";
import type { PostgresResultBackendOptions } from "kojin-postgres";

/** Ways for one process to store what another awaits: the product, and the alternatives it is compared with. */
export type TechniqueName =
  | "ours"
  | "chunks of one task"
  | "chunks of 256 tasks"
  | "bare"
  | "bare with read"
  | "bare store"
  | "polling"
  | "row per commit"
  | "redis"
  | "bullmq";

export interface TechniqueSettings {
  readonly technique: TechniqueName;
  readonly url: string;
  readonly redisPort?: number | undefined;
  /** For the product: where notifications travel over NATS. */
  readonly natsServers?: string;
  /** For the product. */
  readonly options?: PostgresResultBackendOptions;
}

/** The tasks `prefix-0`, `prefix-1` and so on, so that a message can name them without listing them. */
export interface TaskRange {
  readonly prefix: string;
  readonly first: number;
  readonly count: number;
  /** Distance from one task to the next. Default 1. */
  readonly step?: number;
  /** Size of each result, in bytes of JSON. */
  readonly resultBytes: number;
}

export const taskIds = ({ prefix, first, count, step = 1 }: TaskRange): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}-${first + index * step}`);

/** Creates a result that has this size as JSON and hardly compresses. */
export function resultOf(bytes: number): { text: string } {
  const textLength = Math.max(0, bytes - '{"text":""}'.length);
  return { text: randomBytes(textLength).toString("base64").slice(0, textLength) };
}

export interface Storing {
  store(taskId: string, result: unknown): Promise<void>;
  /** Stores all tasks with this concurrency, for techniques that do not use `store`. */
  storeAll?(taskIds: readonly string[], lanes: number, result: unknown): Promise<void>;
  close(): Promise<void>;
}

export interface Waiting {
  /**
   * Waits for tasks. Resolves once all waits are open: each has read once and found nothing. Calls `onResult` when a
   * task's result is in hand.
   */
  open(taskIds: readonly string[], onResult: (index: number) => void): Promise<void>;
  close(): Promise<void>;
}

export interface Technique {
  createStoring(settings: TechniqueSettings): Promise<Storing>;
  createWaiting(settings: TechniqueSettings): Promise<Waiting>;
}
