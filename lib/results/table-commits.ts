import type { Database } from "../database/database";
import { type CommitReader, type Mark, type Moment, Snapshot } from "../waiting/commits";
import type { CommitStatements } from "./commit-statements";

type MarkRow = [key: string, xid: string];

/** Reads commits from a table. */
export class TableCommits implements CommitReader {
  readonly #database: Pick<Database, "query">;
  readonly #statements: CommitStatements;
  readonly #timeoutMs: number;

  constructor(database: Pick<Database, "query">, statements: CommitStatements, timeoutMs: number) {
    this.#database = database;
    this.#statements = statements;
    this.#timeoutMs = timeoutMs;
  }

  async now(): Promise<Moment> {
    const query = { purpose: "read the current snapshot", text: this.#statements.now, values: [] };
    const [row] = await this.#database.query<[snapshot: string, micros: string]>(query, this.#timeoutMs);
    const [snapshot = "", micros] = row ?? [];
    return { snapshot: new Snapshot(snapshot), serverMicros: Number(micros) };
  }

  async writtenSince(micros: number, after: Mark, limit: number): Promise<readonly Mark[]> {
    return this.#read(this.#statements.writtenSince, [micros, String(after.xid), after.key, limit]);
  }

  async committedSince(from: Snapshot, to: Snapshot, after: Mark, limit: number): Promise<readonly Mark[]> {
    const range = [String(from.xmax), [...from.running].map(String), String(to.xmax)];
    return this.#read(this.#statements.committedSince, [...range, String(after.xid), after.key, limit]);
  }

  async #read(text: string, values: readonly unknown[]): Promise<readonly Mark[]> {
    const rows = await this.#database.query<MarkRow>({ purpose: "read what is new", text, values }, this.#timeoutMs);
    return rows.map(([key, xid]) => ({ key, xid: Number(xid) }));
  }
}
