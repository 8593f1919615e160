/** How far an upload is, and what can be done with it. */

import { uploads, type Upload } from "../api/upload";
import { bytes, duration, percent } from "../format";
import { useT } from "../i18n";
import { Button, Progress } from "../ui/parts";

interface Props {
  upload: Upload;
  /** Given the same file again, after a reload. */
  onFile: (files: FileList | null) => void;
  onGone: () => void;
}

export function UploadRow({ upload, onFile, onGone }: Props) {
  const t = useT();
  const words = t.training.datasets;
  const share = upload.sent / Math.max(1, upload.size);
  const discard = (
    <Button
      look="plain"
      onClick={() => {
        void uploads.dismiss(upload.key);
        onGone();
      }}
    >
      {words.discard}
    </Button>
  );
  if (upload.state === "lost")
    return (
      <div className="stack tight">
        <p className="break">{words.lost(upload.fileName, bytes(upload.size))}</p>
        <div className="row">
          <label className="button">
            {words.chooseFile}
            <input
              className="visually-hidden"
              type="file"
              onChange={(event) => {
                onFile(event.target.files);
                event.target.value = "";
              }}
            />
          </label>
          {discard}
        </div>
      </div>
    );
  return (
    <div className="stack tight">
      <p className="break">{upload.state === "failed" ? words.failed(upload.fileName) : words.uploading(upload.fileName)}</p>
      {upload.state === "failed" ? (
        <p className="small violation" role="alert">
          {upload.error?.problem.detail}
        </p>
      ) : (
        <Progress value={share} label={words.uploading(upload.fileName)} />
      )}
      <div className="row spread">
        <span className="small muted">
          {upload.state === "sending" && sending(upload, words)}
          {upload.state === "paused" && words.pausedAt(percent(share))}
          {upload.state === "waiting" && words.waiting}
        </span>
        <span className="row">
          {(upload.state === "sending" || upload.state === "waiting") && (
            <Button onClick={() => uploads.pause(upload.key)}>{words.pause}</Button>
          )}
          {(upload.state === "paused" || upload.state === "failed") && (
            <Button onClick={() => uploads.resume(upload.key)}>{upload.state === "paused" ? words.resume : t.actions.retry}</Button>
          )}
          {discard}
        </span>
      </div>
    </div>
  );
}

function sending(
  upload: Upload,
  words: { sent: (sent: string, size: string) => string; rate: (rate: string) => string; left: (time: string) => string },
): string {
  const told = [words.sent(bytes(upload.sent), bytes(upload.size))];
  if (upload.rate > 0) told.push(words.rate(bytes(upload.rate)), words.left(duration((upload.size - upload.sent) / upload.rate)));
  return told.join(" · ");
}
