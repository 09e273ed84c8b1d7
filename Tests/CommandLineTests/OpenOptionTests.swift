// The options of `--image-opts` against the genuine tool: what they print, what they refuse, and what
// they leave in the file.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct OpenOptionTests {
  @Test(
    "options act as in the genuine tool",
    arguments: [
      "detect-zeroes=on", "detect-zeroes=unmap,discard=unmap", "detect-zeroes=off", "lazy-refcounts=on",
      "overlap-check=none", "overlap-check=all",
      "overlap-check.template=constant,overlap-check.active-l2=off",
      "detect-zeroes=unmap,discard=ignore", "detect-zeroes=maybe", "overlap-check=much",
      "overlap-check=all,overlap-check.template=none", "overlap-check.nothing=on", "force-share=on",
      "file.locking=off",
      "file.locking=on", "lazy-refcounts=off,cache-size=1M",
    ])
  func options(_ list: String) throws {
    let judge = try Judge()
    for name in ["ours", "genuine"] {
      try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", name + ".qcow2", "4M"])
      try judge.must("qemu-io", ["-c", "write -q 0 1M", name + ".qcow2"])
    }
    let commands = [
      "-c", "write -P 0 64k 128k", "-c", "write -P 0 300k 1k", "-c", "write -P 5 2M 64k", "-c",
      "write -P 0 3M 64k",
    ]
    func words(_ name: String) -> [String] {
      ["--image-opts"] + commands + ["driver=qcow2,file.filename=\(name).qcow2," + list]
    }
    let ours = try judge.ours(["io"] + words("ours"))
    let genuine = try judge.genuine("qemu-io", words("genuine"))
    // The genuine tool names every choice of these two; the words in front are the same.
    if list.contains("maybe") || list.contains("nothing") {
      #expect(ours.status == genuine.status)
      #expect(ours.errors.hasPrefix("TOOL: can't open: "))
    } else {
      #expect(ours == genuine)
    }
    #expect(judge.bytes("ours.qcow2") == judge.bytes("genuine.qcow2"), "\(list)")
  }
}
