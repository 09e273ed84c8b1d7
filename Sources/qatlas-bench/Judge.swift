// The genuine tools of one version. What is faster than one version may be slower than the next, so that
// every race names the version it was run against.

import Glibc

struct Judge {
  /// The folder of `qemu-img` and `qemu-io`; nil for those in PATH.
  var folder: String?
  /// What `qemu-img --version` says: 10, 0 of "10.0.13".
  var major = 0
  var minor = 0
  /// "qemu 10.0.13".
  var name = "qemu"

  /// Asks the tools in `folder` what they are; `scratch` is a file that may be written.
  init(folder: String?, scratch: String) throws(BenchError) {
    self.folder = folder
    try Invocation(program("qemu-img"), ["--version"]).run(output: scratch)
    let words = Lab.firstLine(scratch).split(separator: " ")
    guard let at = words.firstIndex(of: "version"), at + 1 < words.count else {
      throw BenchError("\(program("qemu-img")) does not say which version it is")
    }
    let numbers = words[at + 1].split(separator: ".").map { Int($0) ?? 0 }
    major = numbers.first ?? 0
    minor = numbers.dropFirst().first ?? 0
    name = "qemu \(words[at + 1])"
  }

  /// Where a program is; only the genuine tools are the judge's.
  func program(_ name: String) -> String {
    guard let folder, name == "qemu-img" || name == "qemu-io" else { return name }
    return "\(folder)/\(name)"
  }

  func invocation(_ invocation: Invocation) -> Invocation {
    var result = invocation
    result.program = program(invocation.program)
    return result
  }

  /// `map` says since 8.2 which ranges are compressed.
  var tellsCompressed: Bool { (major, minor) >= (8, 2) }
}
