import type { Technique, TechniqueName } from "../technique";

/** Loaded only by the processes that use them: starting 32 processes takes long enough without BullMQ. */
export const techniques: Readonly<Record<TechniqueName, () => Promise<Technique>>> = {
  ours: async () => (await import("./ours.js")).ours,
  "chunks of one task": async () => (await import("./chunks.js")).chunksOf(1),
  "chunks of 256 tasks": async () => (await import("./chunks.js")).chunksOf(256),
  bare: async () => (await import("./plain-postgres.js")).bare,
  "bare with read": async () => (await import("./plain-postgres.js")).bareWithRead,
  "bare store": async () => (await import("./plain-postgres.js")).bareStore,
  polling: async () => (await import("./plain-postgres.js")).polling,
  "row per commit": async () => (await import("./plain-postgres.js")).rowPerCommit,
  redis: async () => (await import("./redis.js")).redis,
  bullmq: async () => (await import("./bullmq.js")).bullmq,
};
