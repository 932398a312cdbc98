// node verify_keyless.mjs BUNDLE TRUSTED_ROOT.json IDENTITY ISSUER: did this identity sign the bundle?
import { readFileSync } from "node:fs";
import { TrustedRoot } from "@sigstore/protobuf-specs";
import { toTrustMaterial } from "@sigstore/verify";
import { judge } from "./judge.mjs";

const [bundle, root, identity, issuer] = process.argv.slice(2);
const literally = identity.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"); // the policy takes a pattern

judge(bundle, {
  trust: toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(readFileSync(root, "utf8")))),
  policy: { subjectAlternativeName: `^${literally}$`, extensions: { issuer } },
});
