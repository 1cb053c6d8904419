import { specDatabase } from "../support/spec-database";
import { cliOf, startCli } from "./support/run-cli";

describe("kojin-postgres dashboard", () => {
  const database = specDatabase("cli dashboard");
  const cli = cliOf(database);

  it("serves the page until it is interrupted, and exits with 0", async () => {
    const running = cli.start(["dashboard", "--port", "0", "--json"]);
    await running.shows(/"url"/);
    const { url } = JSON.parse(running.stdout()) as { url: string };
    expect((await fetch(url)).status).toBe(200);
    running.interrupt();
    expect(await running.done).toMatchObject({ exitCode: 0, stderr: "" });
    await expect(fetch(url)).rejects.toThrow("fetch failed");
  });

  it("prints an address with a token if others can reach it, and refuses a short token", async () => {
    const running = cli.start(["dashboard", "--port", "0", "--host", "0.0.0.0"]);
    await running.shows(/The dashboard is at http:\S+token=\S{16}/);
    running.interrupt();
    expect((await running.done).exitCode).toBe(0);
    expect(await cli.run(["dashboard", "--port", "0", "--token", "short"])).toMatchObject({ exitCode: 2, stdout: "" });
  });

  it("refuses a host name that does not exist", async () => {
    const { exitCode, stderr } = await cli.run(["dashboard", "--port", "0", "--host", "nosuchhost.invalid"]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: expect.stringContaining("--host: ") as string });
  });

  it("starts a server of its own without an address", async () => {
    const running = startCli(["dashboard", "--port", "0", "--json"]);
    await running.shows(/"url"/);
    running.interrupt();
    expect(await running.done).toMatchObject({ exitCode: 0 });
  });
});
