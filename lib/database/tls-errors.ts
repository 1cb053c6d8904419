import { isAggregateError, isError } from "../value/foreign";
/** Codes of a certificate that does not verify: those of OpenSSL, as Node passes them on (Node docs, "X509 certificate error codes"), and Node's own. */
const certificateErrors: ReadonlySet<string> = new Set([
  "CERT_CHAIN_TOO_LONG",
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "CERT_REJECTED",
  "CERT_REVOKED",
  "CERT_SIGNATURE_FAILURE",
  "CERT_UNTRUSTED",
  "CRL_HAS_EXPIRED",
  "CRL_NOT_YET_VALID",
  "CRL_SIGNATURE_FAILURE",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERROR_IN_CERT_NOT_AFTER_FIELD",
  "ERROR_IN_CERT_NOT_BEFORE_FIELD",
  "ERROR_IN_CRL_LAST_UPDATE_FIELD",
  "ERROR_IN_CRL_NEXT_UPDATE_FIELD",
  "ERR_TLS_CERT_ALTNAME_FORMAT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "HOSTNAME_MISMATCH",
  "INVALID_CA",
  "INVALID_PURPOSE",
  "PATH_LENGTH_EXCEEDED",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY",
  "UNABLE_TO_DECRYPT_CERT_SIGNATURE",
  "UNABLE_TO_DECRYPT_CRL_SIGNATURE",
  "UNABLE_TO_GET_CRL",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/** What the driver says, without a code, where a server has no TLS (`Connection.connect` of pg). */
const noTlsMessage = "The server does not support SSL connections";

/** Whether TLS itself refused a connection: its certificate does not verify, or the server has no TLS. Only a change of the configuration helps. */
export function isTlsRefusal(error: unknown): boolean {
  if (isAggregateError(error)) return error.errors.length > 0 && error.errors.every(isTlsRefusal);
  if (!isError(error)) return false;
  const { code } = error as { code?: unknown };
  return (typeof code === "string" && certificateErrors.has(code)) || error.message === noTlsMessage;
}
