// Which genuine tools judge, and how old they are: `QATLAS_JUDGE=DIR` names a folder with `qemu-img` and
// `qemu-io` that goes before those of the system. Expectations follow the version where its text changed.

import Foundation

/// The folders that programs are looked for in, the judge's first.
package let searchPath: String = {
  let environment = ProcessInfo.processInfo.environment
  let path = environment["PATH"] ?? "/usr/bin:/bin"
  guard let judge = environment["QATLAS_JUDGE"], !judge.isEmpty else { return path }
  return judge + ":" + path
}()

/// The version of the genuine tools that tests compare with.
package struct JudgeVersion: Comparable, Sendable, CustomStringConvertible {
  package let major: Int
  package let minor: Int

  package init(_ major: Int, _ minor: Int) {
    self.major = major
    self.minor = minor
  }

  package static func < (left: Self, right: Self) -> Bool {
    (left.major, left.minor) < (right.major, right.minor)
  }

  package var description: String { "\(major).\(minor)" }

  /// From here on `map` tells compressed clusters apart, and the list of snapshots has its wide columns.
  package static let wideListings = JudgeVersion(8, 2)
  /// The version whose text ours follows.
  package static let newest = JudgeVersion(11, 1)

  /// What `qemu-img` says of itself. Without the tool it is the newest: tests that need it fail by name.
  package static let current: JudgeVersion = {
    guard let result = try? run("qemu-img", ["--version"]),
      let found = result.stdout.firstMatch(of: /version ([0-9]+)\.([0-9]+)/),
      let major = Int(found.1), let minor = Int(found.2)
    else { return newest }
    return JudgeVersion(major, minor)
  }()
}

/// The text of a tool without what an older judge says differently, so that both sides can be compared.
/// With the newest judge nothing is changed.
package func asOlderJudge(_ text: String) -> String {
  var text = text.replacingOccurrences(of: "Try 'qatlas ", with: "Try 'qemu-img ")
  for change in textChanges where JudgeVersion.current < change.since {
    text = text.replacingOccurrences(of: change.pattern, with: change.common, options: .regularExpression)
  }
  return text
}

/// What a version began to say differently: a pattern for both forms, and what stands for them.
private let textChanges: [(since: JudgeVersion, pattern: String, common: String)] = [
  // `map` and `info` since 8.2, 8.0 and 9.0.
  (.wideListings, #", "compressed": (true|false)"#, ""),
  (.wideListings, #"(?m)^ *detached header: false\n"#, ""),
  (.wideListings, #"(?m)^ *"detached-header": false,\n"#, ""),
  (.wideListings, #"(?s)( *)"children": \[\n +\{.*?\n\1\],\n"#, ""),
  (.wideListings, #"(?m)^Child node '/file':\n(    .*\n)+"#, ""),
  // The list of snapshots.
  (.wideListings, "VM_(SIZE|CLOCK)", "VM $1"),
  (.wideListings, #"(?m)^(ID|[0-9]+ ) +(.*(ICOUNT|:[0-9]{2}\.[0-9]{3}).*)$"#, "$1 $2"),
  (.wideListings, #" +[0-9]+(:[0-9]{2}:[0-9]{2}\.[0-9]{3})"#, " HOURS$1"),
  (.wideListings, " +(VM CLOCK)", " $1"),
  (.wideListings, #"(?m)(HOURS:[0-9]{2}:[0-9]{2}\.[0-9]{3}) +(--)?$"#, "$1"),
  // Numbers and option values that cannot be read; what a file looks like.
  (
    .newest,
    "Invalid ([a-z ]+) specified"
      + #"(: '.*'\.?|\. Must be between .*|\. You may use k, M, G, T, P or E suffixes for\n.*exabytes\.)"#,
    "Invalid $1 specified"
  ),
  (.wideListings, #"Parsing error: .* -- (-[0-9]+)"#, "Parsing error -- $1"),
  (
    .newest,
    #"--output (expects .*|must be used with human or json as argument\.)(\nTry '.*)?"#, "--output OPTION"
  ),
  (.wideListings, #"(Detected format of [a-z0-9]+\.)\n?"#, "$1\n"),
  // Usage lines of `qemu-io`.
  (.wideListings, #"\[-abCqr?v\]"#, "[-abCqrv]"), (.wideListings, #"readv \[-Cqr?v\]"#, "readv [-Cqrv]"),
  (.wideListings, #"writev \[-Cfqr?\]"#, "writev [-Cfqr]"),
  (.wideListings, #"\[-bcCfnqr?uz\]"#, "[-bcCfnqruz]"),
]
