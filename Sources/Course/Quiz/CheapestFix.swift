// Which poke puts a damaged image right, without changing what the guest reads?

import QcowFormat
import Storage

enum CheapestFix: QuizMaker {
  static let rule =
    "A count is the number of entries that point to the cluster, those of snapshots as well; COPIED is set exactly where it is 1. A repair that drops the entry makes the check clean as well, and loses the guest's bytes."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level)
    scene.add(scene.deed(&random, [.write]))
    scene.work(&random, level: level)
    let whole = try QuizPlay(scene)
    guard try whole.value("check") == "clean", let image = ImageBytes(try whole.end.bench.file("disk")),
      let damage = QuizDamage.draw(&random, image, scene.clusters, isSmall: level < 3 || random.isOne(of: 2)),
      let inverse = damage.inverse
    else { return nil }
    let guest = try whole.end.bench.guest("disk")
    scene.pokes = [damage.poke]
    let play = try QuizPlay(scene)
    guard try play.value("check") != "clean" else { return nil }
    let bytes = inverse.split(separator: ";").reduce(0) {
      $0 + ($1.split(separator: " ").last?.count ?? 0) / 2
    }
    var question = QuizQuestion(
      scene, tables: (try play.tables(play.end)).lines, more: read(guest, scene),
      text:
        "A check says \(try play.value("check")). Which bytes have to be changed so that it is clean and the guest reads this? \(bytes == 1 ? "One byte is" : "\(bytes) bytes are") enough.",
      parts: [QuizQuestion.Part(label: "the poke", query: "fix", form: .poke, answer: inverse)],
      reason: ["\(damage.words), and back."])
    guard judge(inverse, of: question).isRight else { return nil }
    question.place = "screen=check"
    let places = inverse.split(separator: ";").compactMap { $0.split(separator: " ").first.map(String.init) }
    question.help(
      "Go through the clusters: which count does not fit the entries that point there, and which entry does not fit its count or its place? The counts begin at \(try play.value("rc.at[0]")), 2 bytes each; entries have 8, the first digits first.",
      .cheapestFix,
      "The check says: \(try play.value("line[1]")). \(bytes == 1 ? "The byte to change is" : "The bytes to change begin") at \(places.joined(separator: " and at "))."
    )
    return question
  }

  /// What the guest reads, cluster by cluster, as far as something is there.
  private static func read(_ guest: [UInt8], _ scene: QuizScene) -> [String] {
    let size = Int(scene.clusterSize)
    var words: [String] = []
    for start in stride(from: 0, to: min(guest.count, 16 * size), by: size) {
      let bytes = guest[start..<start + size]
      let first = bytes.first ?? 0
      words.append(
        bytes.allSatisfy { $0 == first } ? String(QuizText.byte(UInt64(first)).dropFirst(2)) : "mixed")
    }
    return QuizText.wrapped("guest clusters 0 to \(words.count - 1) read: " + words.joined(separator: " "))
  }

  /// Writes the bytes of an answer and looks whether the check is clean and the guest reads what it did.
  static func judge(_ answer: String, of question: QuizQuestion) -> QuizQuestion.Judgement {
    func wrong(_ remark: String) -> QuizQuestion.Judgement { .init(isRight: false, remark: remark) }
    do throws(LessonProblem) {
      let whole = try QuizPlay(question.image + question.sessions)
      let guest = try whole.end.bench.guest("disk")
      let pokes = answer.split(separator: ";").map { part in
        let text = String(part).trimmedBlanks
        return text.split(separator: " ").first == "poke" ? text : "poke " + text
      }
      guard pokes.count <= 16 else { return wrong("So many bytes are not needed.") }
      let play = try QuizPlay(question.setting, pokes)
      // Nothing behind the end, no second file in disguise.
      let length = try whole.end.bench.file("disk").length
      guard try play.end.bench.file("disk").length <= length else { return wrong("The file became longer.") }
      let check = try play.value("check")
      guard check == "clean" else { return wrong("The check then says: \(check).") }
      guard try play.end.bench.guest("disk") == guest else {
        return wrong("The check is clean then, but the guest reads other bytes.")
      }
      return .init(isRight: true)
    } catch { return wrong("That cannot be done: \(error.reason).") }
  }
}
