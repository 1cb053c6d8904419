import { randomBytes } from "node:crypto";
import type { PostgresResultBackendOptions } from "kojin-postgres";

/** Ways for one process to store what another one waits for: ours, and those it is compared with. */
export type TechniqueName = "ours" | "bare" | "polling" | "row per commit" | "redis" | "bullmq";

export interface TechniqueSettings {
  readonly technique: TechniqueName;
  readonly url: string;
  readonly redisPort?: number | undefined;
  /** Where notifications travel over NATS; of ours. */
  readonly natsServers?: string;
  /** Of ours. */
  readonly options?: PostgresResultBackendOptions;
}

/** Tasks `prefix-0`, `prefix-1` and so on: to be named in a message without a list of them all. */
export interface TaskRange {
  readonly prefix: string;
  readonly first: number;
  readonly count: number;
  /** From one to the next; default 1. */
  readonly step?: number;
  /** Size of each result, in bytes of JSON. */
  readonly resultBytes: number;
}

export const taskIds = ({ prefix, first, count, step = 1 }: TaskRange): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}-${first + index * step}`);

/** A result that is so large as JSON, and cannot be compressed to much less. */
export function resultOf(bytes: number): { text: string } {
  const textLength = Math.max(0, bytes - '{"text":""}'.length);
  return { text: randomBytes(textLength).toString("base64").slice(0, textLength) };
}

export interface Storing {
  store(taskId: string, result: unknown): Promise<void>;
  /** Where something else than `store` does it: stores all, so many at a time. */
  storeAll?(taskIds: readonly string[], lanes: number, result: unknown): Promise<void>;
  close(): Promise<void>;
}

export interface Waiting {
  /** Waits for tasks; resolves once all waits are open, which means that each has read once, and found nothing. Calls `onResult` when the result of a task is in hand. */
  open(taskIds: readonly string[], onResult: (index: number) => void): Promise<void>;
  close(): Promise<void>;
}

export interface Technique {
  createStoring(settings: TechniqueSettings): Promise<Storing>;
  createWaiting(settings: TechniqueSettings): Promise<Waiting>;
}
