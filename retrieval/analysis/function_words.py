"""The small words of each language: they tell which language a text is in, and a question is searched without them.

Documents keep them, so that a question of nothing else ("The Who", "to be or not to be") still finds its own words.
"""

from retrieval.analysis.normalization import folded

FUNCTION_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(folded(words).split())
    for language, words in {
        "en": """a about after all also am an and another any are as at be because been before being between both but
            by can could did do does doing down during each few for from further had has have having he her here
            hers him his how i if in into is it its itself just me more most must my no nor not of off on once
            only or other our ours out over own same shall she should so some such than that the their theirs
            them then there these they this those through to too under until up upon us very was we were what
            when where which while who whom whose why will with would you your yours""",
        "de": """aber alle allem allen aller alles als also am an andere anderen auch auf aus bei beim bin bis bist da
            damit dann das dass dein deine dem den denn der des dessen die dies diese diesem diesen dieser dieses
            dir doch dort du durch ein eine einem einen einer eines er es etwas euch euer für gegen gibt habe
            haben hat hatte hier hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in ins ist ja jede jedem
            jeden jeder jedes kann kein keine keinem keinen keiner können könnte man mein meine mich mir mit muss
            müssen nach nicht nichts noch nur ob oder ohne sein seine seit sich sie sind so soll sollte sondern
            um und uns unser unsere unter vom von vor wann war waren warum was weil welche welchem welchen
            welcher welches wem wen wenn wer werde werden wie wieder will wir wird wo wohin worden wurde wurden
            während würde zu zum zur zwischen über""",
        "fr": """afin ai alors après as au aucun aucune aussi autre autres aux avaient avait avant avec avez avoir
            avons c ce ceci cela celle celui ces cet cette ceux chaque chez ci comme comment d dans de depuis des
            donc dont du elle elles en entre est et étaient était étant été être eu faut font il ils j je jusqu l
            la le les leur leurs lors lorsque lui m ma mais me mes moi mon même n ne ni nos notre nous on ont ou
            où par pas pendant peut peuvent plus pour pourquoi puis qu quand que quel quelle quelles quels qui
            quoi s sa sans se selon sera ses si son sont sous sur t ta te tes toi ton tous tout toute toutes très
            tu un une vers vos votre vous y à""",
        "es": """a al algo alguna algunas alguno algunos ante antes aquel aunque cada como con contra cual cuales
            cualquier cuando cuanto cuántas cuántos cuál cuándo cuánto cómo de del desde donde dos durante dónde
            e el ella ellas ello ellos en entre era eran es esa esas ese eso esos esta estaba estamos estas este
            esto estos está están fue fueron ha había haber han hasta hay la las le les lo los me mi mis mucho
            muy más ni no nos nosotros nuestra nuestro o os otra otras otro otros para pero poco por porque puede
            pueden pues que quien quién qué se sea ser si sido sin sobre son su sus sé también tan tanto te tener
            tiene tienen toda todas todo todos tu tus un una uno unos usted ustedes y ya yo él""",
        "it": """a ad agli ai al alla alle allo anche ancora avere avete aveva c che chi ci ciascuno come con contro
            cosa così cui da dagli dai dal dalla dalle dallo degli dei del dell della delle dello dentro di dopo
            dove e ed era erano essere fra fino gli ha hanno ho i il in io l la le lei li lo loro lui ma me
            mentre mi mia mio molto ne negli nei nel nell nella nelle nello noi non nostra nostro o ogni oppure
            per perché però più poi possono prima può qual quale quali quando quanti quanto quella quelle quelli
            quello questa queste questi questo qui se senza si sia sono sotto stato su sua sue sugli sui sul
            sulla sulle suo suoi tra tu tutti tutto un una uno vi voi è""",
        "pt": """a ao aos aquela aquele aqui as até cada com como contra da das de dela dele deles depois desde dessa
            desse desta deste do dos durante e ela elas ele eles em entre era eram essa essas esse esses esta
            estas este estes está estão eu foi foram há isso isto já lhe mais mas me mesmo meu minha muito na nas
            nem no nos nossa nosso num numa não nós o onde os ou para pela pelas pelo pelos pode podem por porque
            qual quais qualquer quando quanto quantos que quem se sem ser seu seus será sobre sua suas são só
            também te tem têm toda todas todo todos tu um uma uns você vocês à às é""",
        "nl": """aan al alle als altijd andere ben bij daar dan dat de der deze die dit doen door dus een eens en er
            geen had heb hebben heeft hem het hier hij hoe hun ik in is ja je jij jullie kan kon kunnen kunt maar
            me meer met mij mijn moet moeten na naar niet niets nog nu of om omdat ons onze ook op over reeds te
            tegen toch toen tot u uit uw van veel via voor waar waarom wanneer want waren was wat we wel welk
            welke werd wie wij wil worden wordt zal ze zelf zich zij zijn zo zonder zou zullen""",
        "sv": """alla allt andra att av behöver blev bli blir då de dem den denna deras dess det detta dig din du där
            efter ej eller en er ett finns från för genom ha hade han hans har henne hon hos hur här i ifrån in
            inom inte jag kan kommer kunde man med mellan men mig min mot mycket måste ni nu när någon något
            några och också om oss på samma sedan sig sin sina sitt ska skall skulle som så till under upp ut
            utan vad var varför vara vem vi vid vilka vilken vilket är än även åt över""",
        "da": """af alle alt anden at blev blive bliver da de dem den denne der deres det dette dig din disse dog du
            efter eller en end er et for fra få før ham han hans har havde hende her hos hun hvad hver hvilke
            hvilken hvis hvor hvordan hvorfor hvornår i ikke ind jeg jer kan kun kunne man mange med meget mellem
            men mig min mod må når ned noget nogle nogen nu og også om op os over på sig sin skal skulle som så
            til ud uden under var ved vi vil ville vores være været""",
        "nb": """alle alt annen at av ble bli blir da de dem den denne der deres det dette deg din disse du eller en
            enn er et etter for fra få før ha hadde ham han hans har hennes her hos hun hva hver hvilke hvilken
            hvis hvor hvordan hvorfor i ikke inn jeg kan kun kunne mange man med meg meget mellom men min mot må
            når ned noe noen nå og også om opp oss over på seg selv sin skal skulle som så til uten under ut var
            ved vi vil ville våre være vært å""",
        "fi": """ei eivät eli emme en että ehkä he heidän hän hänen ja jo joka jonka jos jossa jota jotka kaikki
            kanssa keskellä kuin kuinka kuka kun lisäksi me mihin mikä miksi milloin millä minkä minä missä miten
            mitkä mitä mukaan mutta myös me ne niiden niin nämä nyt ole olen oli olivat olla on ovat pitää saa se
            sekä sen siellä siinä sinä sitten sitä tai te tämä tämän tässä tätä vaan vai vaikka vain voi voidaan
            voivat yli""",
        "tr": """acaba ama ancak asla aslında az bana başka bazı belki ben beni benim bir biri birkaç birçok biz bize
            bu buna bunda bundan bunlar bunu bunun burada böyle çok çünkü da daha de defa değil diye dolayı en
            eğer gibi göre hangi hem hep hepsi her herhangi hiç için ile ise içinde kadar kaç ki kim kime kimin
            mi mu mü mı nasıl ne neden nedir nerede nereye niye o olan olarak oldu olduğu olmak olmalı olup olur
            on ona onlar onu onun oysa sadece sanki sen siz sonra tarafından tüm var ve veya ya yani yapılan yok
            zaman şey şu""",
        "pl": """aby ale albo ani bardzo bez bo być był była było były będzie by co czy czyli dla do gdy gdzie go i
            ich ile im innych ja jak jako jakie jaki je jednak jego jej jest jeszcze już jeśli kiedy która które
            którego której który których którzy kto lub ma mają mi może można mu my na nad nam nas nie nich nim
            niż o od oraz po pod przed przez przy są się sobie swoje ta tak także tam te tego tej ten to tu tych
            tylko tym u w we wszystkie z za ze że""",
        "cs": """a aby ale ani až bez bude budou by byl byla bylo být co či další do ho i j jak jaké jako je jeho
            jejich jen ještě již jsem jsou k kam kde kdo kdy když která které který kteří ku má mají mezi mi může
            na nad nebo není než o od on ona pak po pod podle pokud pouze pro proto protože před při s se si sve
            své ta tak také tato te ten tento to toho tom tomu tu ty u už v ve více však z za ze že""",
        "ro": """a acea aceasta această aceste acest acesta al ale am ar are au avea ca care ce cea cel cele cei cine
            cu cum câte câți când că da dacă de decât deci deși din dintre doar după ea ei el era este eu fi fie
            fiecare fost în înainte între își la le lor lui mai mult ne nici noi nu o ori orice pe pentru până
            poate pot prin sa sale sau se si sub sunt să său toate tot trebuie un una unde unei unor unui va vor
            voi și""",
        "hu": """a abban ahhoz ahogy aki akik által amely amelyek ami amikor az azok azon azt azután be csak de e egy
            egyes el elő ehhez én és ez ezek ezen ezt fel ha hanem hogy hogyan hol hozzá igen így ill ilyen is
            itt jó ki kell kinek között közül le legyen lehet lenne lesz ma már meg mely melyek melyik mennyi
            mert mi miért mikor milyen minden mint mit nagyon ne nem nincs ő ők olyan ott össze pedig rá s saját
            sem soha számára szerint tehát több úgy után utána vagy vagyok valami van vannak vele vissza volt
            voltak""",
        "id": """ada adalah agar akan aku anda antara apa apakah atas atau bagaimana bagi bahwa banyak beberapa belum
            berapa bisa boleh dalam dan dapat dari dengan di dia harus hanya ini itu jika juga kami kapan karena
            kepada ke kita lain lebih mana mereka mengapa namun oleh pada para pernah saat saja sampai sangat
            satu saya sebagai sebelum sebuah secara sedang seperti serta setelah setiap siapa sudah telah tentang
            tersebut tidak untuk yang""",
        "ca": """a al algun als amb aquest aquesta aquests això així cada com contra d de del dels des després doncs
            el ella els em en encara entre era es està estan et fins ha han hi i ja l la les li llur més m meu
            molt n na ni no nosaltres o on pel pels per perquè però poc pot que quan qui quin quina s sense ser
            ses seu seva si sobre són també tan tot tota tots un una uns""",
        "ru": """а без более бы был была были было быть в вам вас весь во вот все всего всех всё вы где да для до его
            ее если есть ещё же за здесь и из или им их к как какая какие каких какой когда который которые
            которая кто куда ли лучше между меня мне может можно мы на над надо не него нет ни но ну о об однако
            он она они оно от перед по под после потому почему при про с сколько со так также там те тем то того
            тоже только том ты у уже чего чем через что чтобы эта эти это этого этой этот я""",
        "ar": """أن أو أي أين إذا إلا إلى إن التي الذي الذين الى أنا أنت بعد بل بين تلك ثم حتى حول حين خلال دون ذلك
            سوف على عن عند عندما غير ف فإن في فيه فيها قبل قد كان كانت كل كم كما كيف لا لكن لم لماذا لن له لها
            ليس ما ماذا متى مع من منذ منه منها نحن هذا هذه هل هم هنا هناك هو هي و وقد ولا ومن يكون يمكن""",
        "he": """אבל או אחרי אין איך איפה אל אם אני אנחנו אף אשר את אתה אתם באיזה בין בלי גם האם הוא היא היה היו הזה
            הזאת הם הן זאת זה זו יש יותר כאשר כאן כדי כי כך כל כמה לא לאן לה להם לו לי למה לפי לפני מה מאוד מהו
            מהי מהם מול מי מתי נגד על עד עם פה רק של שלא שלה שלהם שלו שלי שלך שם תחת""",
        "hi": """अगर अपना अपनी अपने अब आप इन इस इसका इसकी इसके इसमें इसे उन उनका उनकी उनके उस उसका उसकी उसके उसे एक
            एवं ऐसा ऐसे और कई कब कर करता करती करते करना करने करें कहाँ का कि कितना कितनी कितने किया किस किसी की
            कुछ के को कोई कौन क्या क्यों गई गए गया जब जाए जाता जाती जाते जाना जिस जो तक तब तो था थी थे दिया दो
            द्वारा नहीं ने पर पास फिर बहुत बाद भी मुझे में मेरा मैं यदि यह यहाँ या ये रहा रही रहे लिए लिये वह
            वाला वाली वाले वे साथ से हम हर ही हुआ हुई हुए है हैं हो होगा होता होती होते होना""",
        "fa": """از است اگر ام اما آن آنها آیا این با باید بر برای بعد بود به بین پس تا چرا چند چه چگونه چیست خود در
            را روی شد شده شود کجا کدام که کرد کند ما من می نه نیست ها هر هم همه هست هستند و یا یک""",
        "el": """αλλά αν αντί από αυτά αυτή αυτό αυτός για γιατί δεν δύο είναι είχε ένα ένας εγώ εδώ εκεί επί η ή θα
            και κάθε κατά με μέσα μετά μη μια μου μπορεί να ο οι όμως όπου όπως ότι όταν παρά ποια ποιο ποιος
            πολύ πόσο που πού πριν προς πώς πως σας σε στα στη στην στις στο στον στους τα τη την της τι τις το
            τον του τους των ως""",
    }.items()
}  # fmt: skip
