// Standard streams that are closed, full or gone, and limits of the host: the image is as it would be
// without them, and the exit code tells.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct StreamTests {
  /// Every command with arguments that make it say something on each stream.
  static let commands = [
    "info h.qcow2", "info none", "map h.qcow2", "map none", "check h.qcow2", "create h.qcow2", "create -q",
    "io -c bogus h.qcow2", "io -c 'read -v 0 64k' h.qcow2", "io h.qcow2", "io -r h.qcow2",
    "resize h.qcow2 bogus", "resize --shrink h.qcow2 4M", "frag h.qcow2", "defrag h.qcow2",
    "defrag -p h.qcow2", "pin --check h.qcow2", "pin --restore h.qcow2", "unpin h.qcow2", "l2 h.qcow2",
    "layout h.qcow2", "lab --workload bogus", "lesson", "explore h.qcow2", "explore --rw h.qcow2",
    "h.qcow2", "--help", "--bogus", "info --secret prompt h.qcow2",
  ]
  static let closings = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]

  /// An image without anything that the commands above would change, whose guest data are commands.
  private func judge() throws -> Judge {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "h.qcow2", "4M"])
    try Data("\nwrite -P 9 8k 512\n".utf8).write(to: URL(fileURLWithPath: judge.path("text")))
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write -s text 0 64k", "h.qcow2"])
    return judge
  }

  @Test("a closed stream never becomes the image", arguments: closings)
  func closed(closing: String) throws {
    let judge = try judge()
    // One shell for all; it prints the commands after which the image is another one.
    let closed = closing.split(separator: " ")
    let kept = (closed.contains(">&-") ? "" : ">>out ") + (closed.contains("2>&-") ? "" : "2>>errors ")
    var script = "cp h.qcow2 before\n"
    for command in Self.commands {
      script += """
        timeout 20 "$Q" \(command) \(closing) \(kept); code=$?
        [ $code -lt 3 ] || echo "exit $code: \(command)"
        cmp -s h.qcow2 before || { echo "changed: \(command)"; cp before h.qcow2; }

        """
    }
    #expect(try judge.shell(script, timeout: 120).stdout == "")
  }

  @Test("one place writes to the streams, behind the filter for all that is printed")
  func oneDoor() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Sources")
    let found = try run(
      "grep",
      [
        "-rnE", #"(^|[^a-zA-Z.])(print|fputs|puts|putchar|fwrite|dprintf|readLine)\(|Glibc\.write"#,
        "--include=*.swift",
        root.path,
      ])
    let allowed = ["/qatlas-bench/", "/TerminalHost/", "private func print(", "try print(", "//"]
    let others = found.stdout.split(separator: "\n").filter { line in
      !allowed.contains { line.contains($0) }
    }
    #expect(others.count == 1 && others.first?.contains("qatlas/Main.swift") == true, "\(others)")
  }

  @Test("commands of a closed input end at once, and those that change go through with closed streams")
  func effects() throws {
    let judge = try judge()
    let ended = try judge.shell("\"$Q\" io h.qcow2 <&-")
    #expect(ended.status == 0 && ended.stdout == "" && ended.stderr == "", "\(ended)")
    let written = try judge.shell(
      "\"$Q\" io -c 'write -P 7 1M 64k' h.qcow2 <&- >&- 2>&-; echo $?; \"$Q\" defrag h.qcow2 <&- >&- 2>&-; echo $?; "
        + "\"$Q\" resize h.qcow2 6M <&- >&- 2>&-; echo $?")
    #expect(written.stdout == "0\n0\n0\n")
    try judge.must("qemu-img", ["check", "h.qcow2"])
    try judge.must("qemu-io", ["-f", "qcow2", "-r", "-c", "read -P 7 1M 64k", "h.qcow2"])
    #expect(try judge.must("qemu-img", ["info", "h.qcow2"]).contains("virtual size: 6 MiB"))
  }

  @Test("a reader that goes away ends a listing, and not a change")
  func reader() throws {
    let judge = try judge()
    let listing = try judge.shell(
      "\"$Q\" l2 h.qcow2 > l2; set -o pipefail; for i in 1 2 3; do \"$Q\" l2 h.qcow2; done | true; "
        + "(\"$Q\" info h.qcow2; echo $? >&2) | true")
    #expect(listing.stderr == "141\n" || listing.stderr == "0\n", "\(listing.stderr)")
    // The write comes after far more output than a pipe holds.
    let change = try judge.shell(
      "(\"$Q\" io -t writeback -c 'read -v 0 1M' -c 'write -P 8 2M 64k' h.qcow2; echo $? >code) | head -c 1 >/dev/null; cat code"
    )
    #expect(change.stdout == "1\n", "\(change)")
    try judge.must("qemu-io", ["-f", "qcow2", "-r", "-c", "read -P 8 2M 64k", "h.qcow2"])
    let full = try judge.shell("\"$Q\" info h.qcow2 >/dev/full")
    #expect(
      full.status == 1 && full.stderr == "qatlas: the output cannot be written: No space left on device\n")
  }

  @Test("a limit on the length of files is an error of the request")
  func fileLimit() throws {
    let judge = try judge()
    let requests = "-c 'write -P 5 0 1M' -c 'write -P 6 2M 2M' -c 'write -P 7 1M 64k'"
    try judge.must("cp", ["h.qcow2", "g.qcow2"])
    let ours = try judge.shell("ulimit -f 2000; \"$Q\" io \(requests) h.qcow2")
    // The genuine tool has to be told to ignore the signal.
    let theirs = try judge.shell("trap '' XFSZ; ulimit -f 2000; qemu-io -f qcow2 \(requests) g.qcow2")
    #expect(ours.status == 1 && theirs.status == 1)
    #expect(Judge.neutral(ours.stdout) == Judge.neutral(theirs.stdout))
    #expect(ours.stdout.contains("write failed: File too large"))
    for name in ["h.qcow2", "g.qcow2"] {
      try judge.must("qemu-img", ["check", name])
      try judge.must(
        "qemu-io", ["-f", "qcow2", "-r", "-c", "read -P 5 0 1M", "-c", "read -P 7 1M 64k", name])
    }
    for options in [
      "-o preallocation=full", "-o preallocation=falloc", "-o preallocation=metadata",
      "-o data_file=new.raw,preallocation=full", "-o contiguous=on,preallocation=full",
    ] {
      let made = try judge.shell("ulimit -f 2000; \"$Q\" create -q \(options) new.qcow2 8M; ls | grep new")
      #expect(made.stdout == "", "\(options): \(made.stdout)")
      #expect(
        made.stderr.hasPrefix("qatlas: new.qcow2: cannot ") && made.stderr.hasSuffix(": File too large\n"))
    }
    let text = try judge.shell("ulimit -f 1; \"$Q\" l2 h.qcow2 >text; \"$Q\" layout h.qcow2 >>text; echo $?")
    #expect(text.stdout == "1\n" && text.stderr.contains("the output cannot be written: File too large"))
  }

  @Test("a limit on descriptors is a sentence")
  func descriptorLimit() throws {
    let judge = try judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-b", "h.qcow2", "-F", "qcow2", "o.qcow2"])
    for command in [
      "io -r -c 'read 0 64k' o.qcow2", "map o.qcow2", "defrag o.qcow2", "create -b h.qcow2 -F qcow2 n.qcow2",
      "check h.qcow2", "h.qcow2",
    ] {
      for limit in 4...6 {
        let result = try judge.shell("ulimit -n \(limit); exec 255>&- 2>&1; exec \"$Q\" \(command)")
        #expect(result.status < 3, "\(limit) \(command): \(result.status) \(result.stdout)")
        if result.status != 0, !command.hasPrefix("h.") {
          #expect(result.stdout.contains("Too many open files"), "\(command): \(result.stdout)")
        }
      }
    }
  }

  @Test("a limit on memory that a small program fits into is enough for a hostile image")
  func memoryLimit() throws {
    let judge = try judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "big.qcow2", "8G"])
    for command in [
      "info big.qcow2", "map big.qcow2", "check big.qcow2", "frag big.qcow2",
      "io -c 'write -P 1 0 512' -c 'write -P 2 7G 512' big.qcow2",
    ] {
      let result = try judge.shell("ulimit -v 400000; \"$Q\" \(command)")
      #expect(result.status == 0 && result.stderr == "", "\(command): \(result.status) \(result.stderr)")
    }
  }

  @Test("changes that are kept in memory are refused before memory ends")
  func overlayLimit() throws {
    let judge = try judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "big.qcow2", "1G"])
    let writes = (0..<10).map { "-c 'write -q -s random \($0 * 20)M 20M'" }.joined(separator: " ")
    let result = try judge.shell(
      "head -c 20971520 /dev/urandom >random; ulimit -v 350000; \"$Q\" io -s \(writes) -c 'read 0 64k' big.qcow2"
    )
    #expect(result.status == 1, "\(result.status)")
    #expect(result.stderr.contains("the changes need more than 170 MiB of memory"), "\(result.stderr)")
    #expect(result.stdout.contains("read 65536/65536"), "\(result.stdout)")
  }

  @Test("a line without an end takes no memory and is not run")
  func longLine() throws {
    let judge = try judge()
    let result = try judge.shell(
      "{ echo 'write -P 3 0 64k'; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo 'read -P 3 0 64k'; } "
        + "| (ulimit -v 100000; \"$Q\" io h.qcow2)")
    #expect(result.status == 1)
    #expect(result.stderr == "line 2 is longer than 131072 bytes and was not run\n")
    #expect(result.stdout.contains("wrote 65536") && result.stdout.contains("read 65536"), "\(result.stdout)")
    let last = try judge.shell("printf 'read -P 3 0 64k' | \"$Q\" io -r h.qcow2")
    #expect(last.status == 0 && last.stdout.contains("read 65536"))
    let folder = try judge.shell("\"$Q\" io h.qcow2 <.")
    #expect(folder.status == 1 && folder.stderr == "qatlas: standard input cannot be read: Is a directory\n")
  }

  @Test("an error of a deep chain says once per layer what failed, and not two hundred times")
  func deepChain() throws {
    let judge = try judge()
    try judge.must("mv", ["h.qcow2", "c0.qcow2"])
    let made = try judge.shell(
      "for i in $(seq 1 12); do \"$Q\" create -q -u -b c$((i-1)).qcow2 -F qcow2 c$i.qcow2 4M || exit 1; done; rm c0.qcow2"
    )
    #expect(made.status == 0, "\(made.stderr)")
    for depth in [1, 3, 8] {
      let ours = try judge.ours(["map", "c\(depth).qcow2"])
      #expect(try ours == judge.genuine("qemu-img", ["map", "c\(depth).qcow2"]))
    }
    let deep = try judge.ours(["map", "c12.qcow2"])
    #expect(deep.errors.components(separatedBy: "Could not open backing file").count == 9)
    #expect(deep.errors.hasSuffix("Could not open 'c0.qcow2': No such file or directory\n"))
  }
}
