// Which file of a chain answers for a guest byte, and with what?

import QcowFormat

enum WhichLayer: QuizMaker {
  static let rule =
    "Ask from above: an entry that is 0 sends the question one file down, a zero flag answers it. Behind the end of a file below there are zeroes, and nobody has them."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    let size = random.pick([4096, 65536] as [UInt64]) ?? 65536
    let clusters = 6 + random.below(5)
    let hasMiddle = level > 1 && (level == 3 || random.isOne(of: 2))
    var files: [String] = []
    var lines: [String] = []
    var shown: [String] = []
    var byte: UInt64 = 0x11
    func part(_ clusters: UInt64, _ random: inout QuizRandom) -> String {
      let first = random.below(clusters)
      let count = min(1 + random.below(3), clusters - first)
      return "\(QuizText.size(first * size)) \(QuizText.size(count * size))"
    }
    var formats: [String] = []
    var sizes: [UInt64] = []
    let layers = hasMiddle ? ["base", "mid", "disk"] : ["base", "disk"]
    for (index, name) in layers.enumerated() {
      // Those below may be shorter.
      let own = name == "disk" ? clusters : 2 + random.below(clusters - 1)
      sizes.append(own)
      let isRaw = index == 0 && random.isOne(of: 2)
      let below = index == 0 ? "" : " -b \(layers[index - 1]) -F \(formats[index - 1])"
      formats.append(isRaw ? "raw" : "qcow2")
      let options = isRaw ? "-f raw" : "-f qcow2 -o cluster_size=\(QuizText.size(size))"
      files.append("img create -q \(options)\(below) \(name) \(QuizText.size(own * size))")
      var deeds: [String] = []
      for _ in 0..<(1 + random.below(UInt64(level) + 1)) {
        let range = part(own, &random)
        if isRaw || !random.isOne(of: 3) {
          deeds.append("write -P \(QuizText.byte(byte)) \(range)")
          byte += 0x11
        } else {
          deeds.append(random.isOne(of: 2) ? "discard \(range)" : "write -z \(range)")
        }
      }
      lines.append("io \(isRaw ? "-f raw " : "")\(name): " + deeds.joined(separator: " ; "))
      let place = index == 0 ? "at the bottom" : "on \(layers[index - 1])"
      shown.append("\(name): \(own) clusters of \(QuizText.size(size)), \(formats[index]), \(place)")
      shown += QuizText.wrapped(deeds.joined(separator: "; "), indent: "    ")
    }
    guard byte < 0x100 else { return nil }
    let scene = QuizScene(files: files, lines: lines, clusterSize: size, clusters: clusters)
    let play = try QuizPlay(scene)
    let cluster = random.below(clusters)
    let guest = cluster * size + random.below(size / 512) * 512
    let parts = [
      try play.part("the file, or nobody", "layer[\(cluster)]", .word),
      try play.part("the byte in hex", "read \(guest) 512", .byte),
    ]
    // The middle case is dull: ask more often for what lies below.
    guard parts[0].answer != "disk" || random.isOne(of: 3) else { return nil }
    var reason = [
      "L2[\(cluster)] of disk: \(QuizText.spelled(try play.tables(play.end).entry(cluster).descriptor))."
    ]
    // Nobody is asked behind the file that answers, or behind one that ends before.
    for (index, name) in layers.enumerated().reversed() where name != "disk" && parts[0].answer != "disk" {
      if cluster >= sizes[index] {
        reason.append("Behind the end of \(name), which has \(sizes[index]) clusters.")
        break
      }
      if formats[index] == "raw" {
        reason.append("In \(name), which is raw: every byte up to its end.")
      } else {
        let type = try? play.value("\(name):type[\(cluster)]")
        reason.append("In \(name): \(type ?? "nothing known").")
      }
      if name == parts[0].answer { break }
    }
    var question = QuizQuestion(
      scene, about: [], more: shown,
      text:
        "Which file answers for guest byte \(QuizText.hex(guest)) of disk (cluster \(cluster)), and with which byte?",
      parts: parts, reason: reason)
    for (index, name) in layers.reversed().enumerated() where name != parts[0].answer {
      question.slip(
        0, name,
        index == 0
          ? "disk has no entry for that cluster, so the question goes down."
          : "\(name) has nothing there, or is never asked: a file above it answers.")
    }
    if parts[0].answer != "nobody" {
      question.slip(0, "nobody", "A file has an entry for that cluster, if only a zero flag.")
    }
    question.place = "screen=snapshots"
    let end = QuizText.size((cluster + 1) * size)
    question.help(
      "Cluster \(cluster) is \(QuizText.size(cluster * size)) to \(end). Begin with disk: which of its operations touch that, and which is the last? If none does, go one file down.",
      .whichLayer, "In this order: " + reason.joined(separator: " "))
    return question
  }
}
