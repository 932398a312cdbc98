// Judge a bundle, and say so: one line of JSON, and exit 0 where it is accepted, 1 where it is refused.
// Anything else that goes wrong (a file that is not there, say) is no judgement: node ends with its stack trace.
import { readFileSync } from "node:fs";
import { bundleFromJSON } from "@sigstore/bundle";
import { toSignedEntity, Verifier } from "@sigstore/verify";

export function judge(path, { trust, thresholds, policy }) {
  const text = readFileSync(path, "utf8");
  try {
    const bundle = bundleFromJSON(JSON.parse(text));
    const signer = new Verifier(trust, thresholds).verify(toSignedEntity(bundle), policy);
    const { payload, payloadType } = bundle.content.dsseEnvelope;
    say({ accepted: true, identity: signer.identity?.subjectAlternativeName, payloadType, payload: payload.toString("base64") });
  } catch (error) {
    say({ accepted: false, code: error.code ?? error.name, message: error.message });
    process.exitCode = 1;
  }
}

function say(judgement) {
  console.log(JSON.stringify(judgement));
}
