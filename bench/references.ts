import type { Reference } from "./row";

const plainPostgres = "bench/techniques/plain-postgres.ts";

/** References that are other programs, or `pg` alone. Rows that compare the library with itself describe that. */
export const bare: Reference = {
  name: "bare INSERT → notification event",
  description:
    "One connection inserts into a table without keys, whose trigger notifies the id. " +
    "The time ends with the notification event of pg on a second connection; nothing is read.",
  code: [plainPostgres, "bare"],
};

export const bareWithRead: Reference = {
  name: "bare INSERT → notification → SELECT",
  description:
    "One connection inserts into a table with a key, whose trigger notifies the id. Of two other connections of pg, " +
    "one receives the notification, and the other reads the row with a prepared statement.",
  code: [plainPostgres, "bareWithRead"],
};

export const bareStore: Reference = {
  name: "bare pg clients, same statement",
  description:
    "As many processes with one connection of pg each run the library's own statement, prepared, through the same " +
    "trigger, one result per commit. The library waits.",
  code: [plainPostgres, "bareStore"],
};

export const polling: Reference = {
  name: "polling every 100 ms",
  description:
    "One connection inserts into a table without triggers. Another reads everything that is awaited every 100 ms.",
  code: [plainPostgres, "polling"],
};

export const rowPerCommit: Reference = {
  name: "a row per commit, same trigger, 8 connections",
  description:
    "Eight connections of pg each run the Rust crate's upsert on the library's table, one row per commit. " +
    "The library's triggers notify, and the library waits.",
  code: [plainPostgres, "rowPerCommit"],
};

export const redis: Reference = {
  name: "Redis without persistence",
  description:
    "SET with an expiry and PUBLISH in one pipeline, then GET by the subscriber. Redis writes nothing to disk.",
  code: ["bench/techniques/redis.ts", "redis"],
};

export const durableRedis: Reference = {
  ...redis,
  name: "Redis with appendfsync always",
  description:
    "SET with an expiry and PUBLISH in one pipeline, then GET by the subscriber. " +
    "Redis writes each command to disk before it answers.",
};

export const bullmq: Reference = {
  name: "BullMQ waitUntilFinished",
  description:
    "Jobs are in the queue before the clock starts. One worker returns their results, and waitUntilFinished awaits " +
    "each. Redis writes nothing to disk.",
  code: ["bench/techniques/bullmq.ts", "bullmq"],
};

export const durableBullmq: Reference = {
  ...bullmq,
  name: "BullMQ waitUntilFinished, Redis with appendfsync always",
  description:
    "Jobs are in the queue before the clock starts. One worker returns their results, and waitUntilFinished awaits " +
    "each. Redis writes each command to disk before it answers.",
};

export const upsertAndCount: Reference = {
  name: "upsert, then count(*), 10 connections, no waiters",
  description:
    "For each member, one of ten connections of pg runs the Rust crate's two statements: an upsert, and a count of " +
    "the completed members. Nothing notifies or waits.",
  code: ["bench/workers/groups.ts", "completeByCount"],
};

export const upsertAndCounter: Reference = {
  name: "upsert and counter row, same batches, no triggers",
  description:
    "One connection of pg upserts members, 128 in a statement that also adds to a counter row of the group. The table " +
    "has the Rust crate's columns, and no triggers or further indexes.",
  code: ["bench/workers/groups.ts", "completeByCounter"],
};

export const bareStart: Reference = {
  name: "connect and LISTEN with pg alone",
  description: "One connection of pg connects and runs LISTEN in a new process.",
  code: ["bench/workers/starting.ts", "bare"],
};
