import { DatabaseError as ServerError } from "pg";
import { originOf, toBackendError } from "../../lib/database/backend-error";
import type { ErrorOrigin } from "../../lib/database/sql-states";
import { DatabaseError, type ResultBackendError, WaitTimeoutError } from "../../lib/errors";

/** An error as the driver makes it of a server's answer. */
function serverError(code: string, severity = "ERROR", more: object = {}): ServerError {
  return Object.assign(new ServerError("message", 7, "error"), { severity, code, ...more });
}

const systemError = (code: string): Error => Object.assign(new Error(`connect ${code}`), { code });

function wrapped(error: unknown, origin?: ErrorOrigin, isPoolEnding = false): ResultBackendError {
  return toBackendError(error, { purpose: "read results", schema: "public", origin, isPoolEnding });
}

describe("an error while connecting", () => {
  it.each([
    ["a password that is wrong", serverError("28P01", "FATAL")],
    ["a role that may not log in", serverError("28000", "FATAL")],
    ["a database that is missing", serverError("3D000", "FATAL")],
    ["an internal error, as poolers report their own", serverError("XX000", "FATAL")],
    ["a database that was dropped", serverError("57P04", "FATAL")],
    ["a code that is unknown", serverError("Z1234", "FATAL")],
    ["an error of class 42", serverError("42501", "FATAL")],
    ["a refusal in another language", serverError("28P01", "ВАЖНО")],
    ["a refused connection", systemError("ECONNREFUSED")],
    ["a name that is not known", systemError("ENOTFOUND")],
    ["a password that could not be fetched", new TypeError("fetch failed", { cause: systemError("ENOTFOUND") })],
    ["a password function that fails in its own way", new TypeError("no token")],
    ["addresses that are all refused", new AggregateError([systemError("ECONNREFUSED"), systemError("EHOSTUNREACH")])],
  ])("is transient: %s", (_what, error) => {
    expect(wrapped(error, "connecting")).toMatchObject({ code: "DATABASE", transient: true, origin: "connecting" });
  });

  it.each([
    ["a certificate of its own", systemError("DEPTH_ZERO_SELF_SIGNED_CERT")],
    ["a certificate of an unknown authority", systemError("UNABLE_TO_VERIFY_LEAF_SIGNATURE")],
    ["a certificate that has expired", systemError("CERT_HAS_EXPIRED")],
    ["a certificate for another name", systemError("ERR_TLS_CERT_ALTNAME_INVALID")],
    ["a server without TLS", new Error("The server does not support SSL connections")],
    ["a port that is none", Object.assign(new RangeError("Port should be < 65536"), { code: "ERR_SOCKET_BAD_PORT" })],
  ])("is permanent: %s", (_what, error) => {
    expect(wrapped(error, "connecting")).toMatchObject({ code: "DATABASE", transient: false, origin: "connecting" });
  });

  it("names every address of a name that has several", () => {
    const error = new AggregateError([systemError("ECONNREFUSED"), systemError("EHOSTUNREACH")]);
    expect(wrapped(error, "connecting").message).toBe(
      "Could not read results: connect ECONNREFUSED; connect EHOSTUNREACH",
    );
  });
});

describe("an error that ends a session", () => {
  it.each(["XX000", "57P04", "3D000", "28P01", "42P01", "42501", "22P02", "P0001", "Z1234"])(
    "is transient, whatever its code: %s",
    (code) => {
      const expected = { code: "DATABASE", sqlState: code, transient: true, origin: "session" };
      expect(wrapped(serverError(code, "FATAL"))).toMatchObject(expected);
      expect(wrapped(serverError(code, "PANIC"))).toMatchObject(expected);
      expect(wrapped(serverError(code, "FEHLER"), "session")).toMatchObject(expected);
    },
  );

  it.each([
    ["a socket that was reset", systemError("ECONNRESET")],
    ["an answer that did not come", new Error("Query read timeout")],
    ["a circuit breaker of the application's", new Error("circuit open")],
    ["an error that is none", "no error"],
  ])("is transient without a code: %s", (_what, error) => {
    expect(wrapped(error)).toMatchObject({ code: "DATABASE", sqlState: undefined, transient: true, origin: "session" });
  });

  it("is not a parameter that the driver cannot use", () => {
    expect(wrapped(new TypeError("cyclic object value"))).toMatchObject({ transient: false });
  });

  it("is that the backend was closed, where the application ends its pool", () => {
    expect(wrapped(new Error("Cannot use a pool after calling end on the pool"), "connecting", true)).toMatchObject({
      code: "BACKEND_CLOSED",
    });
    expect(wrapped(serverError("57P01", "FATAL"), "session", true)).toMatchObject({ code: "DATABASE" });
  });
});

describe("a statement that the server refused", () => {
  it.each([
    ["query_canceled", serverError("57014"), true],
    ["lock_not_available", serverError("55P03"), true],
    ["a plan that no longer fits", serverError("0A000", "ERROR", { routine: "RevalidateCachedQuery" }), true],
    ["another feature_not_supported", serverError("0A000", "ERROR", { routine: "transformStmt" }), false],
    ["insufficient_privilege", serverError("42501"), false],
    ["a row that does not fit", serverError("23514"), false],
  ])("is transient only for what passes: %s", (_what, error, transient) => {
    expect(wrapped(error, "statement")).toMatchObject({ code: "DATABASE", transient, origin: "statement" });
  });

  it("is told of the schema, where that is not migrated", () => {
    expect(wrapped(serverError("42P01"), "statement")).toMatchObject({ code: "SCHEMA", reason: "missing" });
  });
});

describe("the context of an error", () => {
  const [audit, row] = ["audit()", "kojin_store_row(text,text,text,double precision)"];
  const statement = `while locking tuple (0,24) in relation "kojin_results"
SQL statement "insert into public.kojin_results as stored (task_id, expires_at) values (
    id, pg_catalog.now() operator(pg_catalog.+) (case when ttl_ms operator(pg_catalog.>=) 0 then ttl_ms end)
  )"`;
  // Of the catalogs of PostgreSQL 15.
  const translations: [language: string, frame: (name: string) => string][] = [
    ["cs", (name) => `PL/pgSQL funkce ${name} řádek 8 na SQL příkaz`],
    ["de", (name) => `PL/pgSQL-Funktion ${name} Zeile 8 bei SQL-Anweisung`],
    ["en", (name) => `PL/pgSQL function ${name} line 8 at SQL statement`],
    ["es", (name) => `función PL/pgSQL ${name} en la línea 8 en sentencia SQL`],
    ["fr", (name) => `fonction PL/pgSQL ${name}, ligne 8 à instruction SQL`],
    ["ja", (name) => `PL/pgSQL関数${name}の8行目 - SQLステートメント`],
    ["ko", (name) => `PL/pgSQL 함수 "${name}" 의 8번째 SQL 구문`],
    ["pl", (name) => `funkcja PL/pgSQL ${name}, wiersz 8 w wyrażenie SQL`],
    ["ru", (name) => `функция PL/pgSQL ${name}, строка 8, оператор SQL-оператор`],
    ["tr", (name) => `${name} PL/pgSQL fonksiyonu, 8. satır, SQL ifadesi içinde`],
    ["zh", (name) => `在SQL语句的第8行的PL/pgSQL函数${name}`],
  ];

  it.each(translations)("tells errors of the application's functions from missing tables: %s", (_language, frame) => {
    const thrown = serverError("42P01", "ERROR", { where: [frame(audit), statement, frame(row)].join("\n") });
    expect(wrapped(thrown)).toMatchObject({
      code: "DATABASE",
      message: expect.stringContaining(frame(audit)) as string,
    });
    const own = serverError("42P01", "ERROR", { where: [statement, frame(row), frame(audit)].join("\n") });
    expect(wrapped(own)).toMatchObject({ code: "SCHEMA" });
  });

  it.each(translations)("gives a message the function, not a line of a statement: %s", (_language, frame) => {
    const locked = serverError("55P03", "ERROR", { where: [statement, frame(row)].join("\n") });
    expect(wrapped(locked).message).toBe(`Could not read results: message (${frame(row)})`);
  });
});

describe("the origin of an error", () => {
  const alive = async (): Promise<void> => Promise.resolve();
  const gone = async (): Promise<void> => Promise.reject(new Error("terminated"));

  it("is told by the severity, without asking", async () => {
    const asked = jest.fn(alive);
    expect(await originOf(serverError("XX000", "ERROR"), asked)).toBe("statement");
    expect(await originOf(serverError("XX000", "FATAL"), asked)).toBe("session");
    expect(await originOf(serverError("XX000", "PANIC"), asked)).toBe("session");
    expect(await originOf(new Error("Connection terminated"), asked)).toBe("session");
    expect(asked).not.toHaveBeenCalled();
  });

  it("is asked for where a server speaks another language", async () => {
    expect(await originOf(serverError("42501", "FEHLER"), alive)).toBe("statement");
    expect(await originOf(serverError("57P01", "ВАЖНО"), gone)).toBe("session");
  });

  it("is that of the cause, of an error of our own", async () => {
    const cause = serverError("40001", "FATAL");
    expect(await originOf(new DatabaseError("m", "40001", true, { cause }), alive)).toBe("session");
    expect(await originOf(new WaitTimeoutError({ taskId: "task" }, 1), alive)).toBe("statement");
    expect(await originOf(new WaitTimeoutError({ taskId: "task" }, 1), gone)).toBe("session");
  });
});
