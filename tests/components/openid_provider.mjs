// A real OpenID provider on this machine: PORT, REDIRECT; logs everybody in by two forms.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { generateKeyPairSync } from "node:crypto";

const [modules, port, redirect] = process.argv.slice(2);
const entry = createRequire(modules + "/").resolve("oidc-provider");
const { Provider } = await import(pathToFileURL(entry));
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "reconciler", client_secret: "s3cret-of-the-client", redirect_uris: [redirect] }],
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), kid: "one", use: "sig", alg: "RS256" }] },
  cookies: { keys: ["a test"] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true } },
  claims: { openid: ["sub"], email: ["email", "email_verified"], groups: ["groups"] },
  scopes: ["openid", "email", "groups"],
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: id !== "mallory", groups: ["ops"] }),
  }),
});
provider.listen(Number(port), "127.0.0.1");
