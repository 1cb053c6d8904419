import { describeResultBackend } from "./index";
import { specDatabase } from "../support/spec-database";

describe("on a real server", () => {
  const database = specDatabase('conformance "quoted"');

  describeResultBackend("PostgresResultBackend", async () => {
    const backend = await database.open();
    await backend.ready();
    return backend;
  });
});
