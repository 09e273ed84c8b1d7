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
    let twin = try Twin()
    for name in ["ours", "genuine"] {
      try twin.must("qemu-img", ["create", "-q", "-f", "qcow2", name + ".qcow2", "4M"])
      try twin.must("qemu-io", ["-c", "write -q 0 1M", name + ".qcow2"])
    }
    let commands = [
      "-c", "write -P 0 64k 128k", "-c", "write -P 0 300k 1k", "-c", "write -P 5 2M 64k", "-c",
      "write -P 0 3M 64k",
    ]
    func words(_ name: String) -> [String] {
      ["--image-opts"] + commands + ["driver=qcow2,file.filename=\(name).qcow2," + list]
    }
    let ours = try twin.ours(["io"] + words("ours"))
    let genuine = try twin.genuine("qemu-io", words("genuine"))
    // The genuine tool names every choice of these two; the words in front are the same.
    if list.contains("maybe") || list.contains("nothing") {
      #expect(ours.status == genuine.status)
      #expect(ours.errors.hasPrefix("TOOL: can't open: "))
    } else {
      #expect(ours == genuine)
    }
    #expect(twin.bytes("ours.qcow2") == twin.bytes("genuine.qcow2"), "\(list)")
  }
}
