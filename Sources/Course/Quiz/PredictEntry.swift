// What does the entry say behind the operation?

import QcowFormat

enum PredictEntry: QuizMaker {
  static let rule =
    "Bit 63 (COPIED, first digit 8) says that the count is exactly 1, bit 62 (first digit 4) compressed, bit 0 (last digit 1) reads as zeroes; between them is the place."
  private static let ruleOfBitmaps =
    " In a bitmap the first 8 digits are subclusters that read as zeroes, the last 8 those with data; subcluster 0 is the lowest bit of each."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level)
    scene.work(&random, level: level)
    let operation = scene.deed(&random, QuizScene.pool(level))
    let play = try QuizPlay(scene, [operation])
    let (before, after) = (try play.tables(play.start), try play.tables(play.end))
    let changed = (0..<scene.clusters).filter { before.entry($0) != after.entry($0) }
    // Now and then one that stays as it is.
    let used = (0..<scene.clusters).filter { before.entry($0).descriptor != 0 && !changed.contains($0) }
    guard let cluster = random.pick(random.isOne(of: 6) ? used : changed) else { return nil }
    var parts = [try play.part("the entry in 16 hex digits", "l2[\(cluster)]", .entry)]
    if scene.isExtended {
      parts.append(try play.part("its bitmap in 16 hex digits", "bitmap[\(cluster)]", .entry))
    }
    let place = try play.value("l2.at[\(cluster * scene.clusterSize)]")
    var question = QuizQuestion(
      scene, operations: [operation], tables: before.lines,
      text:
        "Then: \(operation). What is L2[\(cluster)]\(scene.isExtended ? " and its bitmap" : "") afterwards?",
      parts: parts,
      reason: [
        "L2[\(cluster)] lies at \(place): \(QuizText.spelled(after.entry(cluster).descriptor))."
      ], changes: before.changes(to: after))
    question.place =
      "screen=table at=l2:0,\(cluster) highlight=l2[\(cluster)]"
      + (scene.isExtended ? " zoom=subcluster" : "")
    help(
      &question, cluster, scene, before, after, ImageBytes(try play.end.bench.file("disk"))?.geometry)
    return question
  }

  private static func help(
    _ question: inout QuizQuestion, _ cluster: UInt64, _ scene: QuizScene, _ before: QuizTables,
    _ after: QuizTables, _ geometry: Geometry?
  ) {
    let (old, new) = (before.entry(cluster), after.entry(cluster))
    let (start, size) = (cluster * scene.clusterSize, scene.clusterSize)
    let mask = L2Entry(descriptor: new.descriptor)
    if !mask.isCompressed {
      question.slip(
        0, QueryValue.digits(of: new.descriptor ^ L2Entry.copiedFlag),
        mask.isCopied
          ? "That is the address with bit 63 cleared; the count is 1, so COPIED is set."
          : mask.offsetBits == 0
            ? "COPIED belongs to a place; there is none." : "COPIED is set only where the count is exactly 1."
      )
      if new.descriptor & L2Entry.zeroFlag != 0 {
        question.slip(
          0, QueryValue.digits(of: new.descriptor ^ L2Entry.zeroFlag),
          "Without the zero flag it would not read as zeroes.")
      }
      if mask.offsetBits != 0 {
        question.slip(
          0, QueryValue.digits(of: L2Entry.copiedFlag | start),
          "That place is the guest offset; places in the file follow the order in which clusters were needed."
        )
        question.slip(
          0, QueryValue.digits(of: L2Entry.copiedFlag | UInt64(before.counts.count) * size),
          "That is the first place behind the end of the file; a free cluster in front of it, or a table that is made first, changes which one the data gets."
        )
      }
    }
    question.slip(0, QueryValue.digits(of: old.descriptor), "That is the entry before it.")
    if scene.isExtended {
      question.slip(
        1, QueryValue.digits(of: new.bitmap << 32 | new.bitmap >> 32),
        "The halves are swapped: zero bits are the first 8 digits, data bits the last 8.")
      question.slip(1, QueryValue.digits(of: old.bitmap), "That is the bitmap before it.")
      let half = { (bits: UInt64) in (0..<32).reduce(UInt64(0)) { $0 | (bits >> $1 & 1) << (31 - $1) } }
      question.slip(
        1, QueryValue.digits(of: half(new.bitmap >> 32) << 32 | half(new.bitmap & 0xffff_ffff)),
        "Subcluster 0 is the lowest bit of each half, the last digit.")
    }
    var nearly = "Afterwards: \(QuizText.spelled(new.descriptor))"
    if mask.isCompressed, let geometry {
      let extent = geometry.compressedExtent(of: new.descriptor)
      let further = (extent.offset.value % 512 + extent.byteCount) / 512 - 1
      nearly += "; its stream begins at \(QuizText.hex(extent.offset.value)) and "
      nearly +=
        further == 0
        ? "ends in the same sector of 512 bytes"
        : "has \(further) further sectors, a number from bit \(geometry.compressedOffsetBits) on"
    }
    nearly += "."
    if scene.isExtended {
      nearly +=
        " Subclusters that read as zeroes: \(QuizText.subclusters(new.bitmap >> 32)); with data: \(QuizText.subclusters(new.bitmap & 0xffff_ffff))."
    }
    question.help(
      "Guest cluster \(cluster) is \(QuizText.size(start)) to \(QuizText.size(start + size)): does \(question.operations[0]) cover all of it, a part, or nothing? Its entry says now: \(QuizText.spelled(old.descriptor)). The lowest cluster with the count 0 is \(before.lowestFree).",
      .predictEntry, nearly)
    if scene.isExtended { question.hints[1] += ruleOfBitmaps }
  }
}
