import { PostgresResultBackend } from "kojin-postgres";

// On the global object: every route has its own copy of this module, and development replaces it at each change.
const shared = globalThis as { backend?: Promise<PostgresResultBackend> };

/** Connects at the first request, since `next build` loads the routes where there is no database. */
export function connectBackend(): Promise<PostgresResultBackend> {
  shared.backend ??= PostgresResultBackend.connect(process.env["DATABASE_URL"] ?? "").catch((error: unknown) => {
    delete shared.backend; // the next request tries again
    throw error;
  });
  return shared.backend;
}
