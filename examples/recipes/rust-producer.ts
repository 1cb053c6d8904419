// npx tsx examples/recipes/rust-producer.ts
//
// A worker in another language. Its statements are those of the Rust crate kojin-postgres 0.4. Such a worker needs no
// change, and neither does its database: `migrate` adopts its tables with their rows.

import { Client, escapeIdentifier } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { type ExampleDatabase, withDatabase } from "../support/database";

/** The statements of the crate's `migrate`. */
const createTables = [
  `create table if not exists kojin_results (
     task_id text primary key, result jsonb not null, created_at timestamptz default now(), expires_at timestamptz)`,
  "create index if not exists idx_kojin_results_expires on kojin_results (expires_at) where expires_at is not null",
  `create table if not exists kojin_groups (
     group_id text not null, task_id text not null, result jsonb, completed boolean default false,
     primary key (group_id, task_id))`,
];
const storeResult = `insert into kojin_results (task_id, result, expires_at) values ($1, $2, now() + interval '1 day')
  on conflict (task_id) do update set result = excluded.result, expires_at = excluded.expires_at`;
/** A group of n members begins as n of these rows. */
const insertPlaceholder = `insert into kojin_groups (group_id, task_id, completed) values ($1, $2, false)
  on conflict (group_id, task_id) do nothing`;
const completeMember = `insert into kojin_groups (group_id, task_id, result, completed) values ($1, $2, $3, true)
  on conflict (group_id, task_id) do update set result = excluded.result, completed = true`;

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  const rust = new Client({ connectionString: url });
  await rust.connect();
  try {
    await rust.query(`create schema ${escapeIdentifier(schema)}`);
    await rust.query(`set search_path = ${escapeIdentifier(schema)}`);
    for (const statement of createTables) await rust.query(statement);
    await rust.query(storeResult, ["from before", JSON.stringify({ migrated: true })]);

    await using backend = await PostgresResultBackend.connect(url, { schema });
    await backend.migrate();
    console.log("Stored before this library came:", await backend.get("from before"));
    await awaitResult(backend, rust);
    await awaitGroup(backend, rust);
  } finally {
    await rust.end();
  }
}

async function awaitResult(backend: PostgresResultBackend, rust: Client): Promise<void> {
  // Listens before the worker stores, so that the answer can only come by notification.
  await backend.ready();
  const waiting = backend.wait("resize-1", 10_000);
  await rust.query(storeResult, ["resize-1", JSON.stringify({ width: 640 })]);
  console.log("Stored by the worker, awaited here:", await waiting);
}

async function awaitGroup(backend: PostgresResultBackend, rust: Client): Promise<void> {
  const waiting = backend.waitGroup("album", 10_000);
  for (let index = 0; index < 3; index += 1) {
    await rust.query(insertPlaceholder, ["album", `album:placeholder:${index}`]);
  }
  // Two members by the worker, one by this process: they are counted together.
  await rust.query(completeMember, ["album", "photo-a", JSON.stringify("a.png")]);
  await backend.completeGroupMember("album", "photo-b", "b.png");
  await rust.query(completeMember, ["album", "photo-c", JSON.stringify("c.png")]);
  console.log("A group that the worker began:", await waiting);
}

void withDatabase(main);
