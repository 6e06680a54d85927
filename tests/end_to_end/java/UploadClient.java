import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.springframework.core.io.FileSystemResource;
import org.springframework.http.HttpEntity;
import org.springframework.http.HttpHeaders;
import org.springframework.http.MediaType;
import org.springframework.http.ResponseEntity;
import org.springframework.http.converter.FormHttpMessageConverter;
import org.springframework.http.converter.StringHttpMessageConverter;
import org.springframework.util.LinkedMultiValueMap;
import org.springframework.util.MultiValueMap;
import org.springframework.web.client.RestTemplate;

/** Uploads one file as Java programs do, and prints for each way a line of JSON with what the gateway answered. */
public final class UploadClient {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String SETTINGS = "{\"indexing_technique\":\"high_quality\",\"process_rule\":{\"mode\":\"automatic\"}}";

    private final String base;
    private final File file;

    private UploadClient(String base, File file) {
        this.base = base;
        this.file = file;
    }

    /** Arguments: the address of the API, the file, and then pairs of a way to upload and the id of a kb. */
    public static void main(String[] arguments) throws Exception {
        UploadClient client = new UploadClient(arguments[0], new File(arguments[1]));
        for (int at = 2; at + 1 < arguments.length; at += 2) {
            client.upload(arguments[at], arguments[at + 1]);
        }
        System.exit(0); // OkHttp's threads would keep the program alive for another minute.
    }

    private void upload(String way, String kbId) throws Exception {
        switch (way) {
            case "spring": withSpring(way, base + "/document/upload", kbId, false); break;
            case "spring-utf8": withSpring(way, base + "/document/upload", kbId, true); break;
            case "spring-raw": withSpring(way, rawUrl(kbId), kbId, false); break;
            case "spring-utf8-raw": withSpring(way, rawUrl(kbId), kbId, true); break;
            case "okhttp": withOkHttp(way, base + "/document/upload", kbId); break;
            case "okhttp-raw": withOkHttp(way, rawUrl(kbId), kbId); break;
            case "jdk": withJdk(way, base + "/document/upload", kbId); break;
            case "jdk-raw": withJdk(way, rawUrl(kbId), kbId); break;
            default: throw new IllegalArgumentException(way);
        }
    }

    private String rawUrl(String kbId) {
        return base + "/datasets/" + kbId + "/document/create_by_file";
    }

    /** The fields beside the file: Dify's own form has `data`, and the kb in its path. */
    private static Map<String, String> fieldsFor(String url, String kbId) {
        return url.endsWith("create_by_file") ? Map.of("data", SETTINGS) : Map.of("kb_id", kbId);
    }

    /** Without a multipart charset, Spring writes file names in ASCII; with one, as encoded words of RFC 2047. */
    private void withSpring(String way, String url, String kbId, boolean inUtf8) throws Exception {
        FormHttpMessageConverter forms = new FormHttpMessageConverter();
        if (inUtf8) {
            forms.setMultipartCharset(StandardCharsets.UTF_8);
        }
        RestTemplate http = new RestTemplate(List.of(forms, new StringHttpMessageConverter(StandardCharsets.UTF_8)));
        MultiValueMap<String, Object> form = new LinkedMultiValueMap<>();
        form.add("file", new FileSystemResource(file));
        fieldsFor(url, kbId).forEach(form::add);
        HttpHeaders headers = new HttpHeaders();
        headers.setContentType(MediaType.MULTIPART_FORM_DATA);
        ResponseEntity<String> answer = http.postForEntity(url, new HttpEntity<>(form, headers), String.class);
        print(way, answer.getStatusCode().value(), answer.getBody(), answer.getHeaders().getFirst("X-Warnings"));
    }

    private void withOkHttp(String way, String url, String kbId) throws Exception {
        okhttp3.MultipartBody.Builder form = new okhttp3.MultipartBody.Builder()
            .setType(okhttp3.MultipartBody.FORM)
            .addFormDataPart("file", file.getName(), okhttp3.RequestBody.create(okhttp3.MediaType.parse("text/plain"), file));
        fieldsFor(url, kbId).forEach(form::addFormDataPart);
        okhttp3.Request request = new okhttp3.Request.Builder().url(url).post(form.build()).build();
        try (okhttp3.Response answer = new okhttp3.OkHttpClient().newCall(request).execute()) {
            print(way, answer.code(), answer.body().string(), answer.header("X-Warnings"));
        }
    }

    /** The JDK's client with Expect: 100-continue and a chunked body, whose line ends are bare LF. */
    private void withJdk(String way, String url, String kbId) throws Exception {
        ByteArrayOutputStream form = new ByteArrayOutputStream();
        for (Map.Entry<String, String> field : fieldsFor(url, kbId).entrySet()) {
            write(form, "--xyz\nContent-Disposition: form-data; name=" + field.getKey() + "\n\n" + field.getValue() + "\n");
        }
        write(form, "--xyz\nContent-Disposition: form-data; name=\"file\"; filename=\"" + file.getName() + "\"\n\n");
        form.write(Files.readAllBytes(file.toPath()));
        write(form, "\n--xyz--");
        HttpRequest request = HttpRequest.newBuilder(URI.create(url))
            .header("Content-Type", "multipart/form-data; boundary=\"xyz\"")
            .expectContinue(true)
            .POST(HttpRequest.BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(form.toByteArray())))
            .build();
        HttpResponse<String> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        print(way, answer.statusCode(), answer.body(), answer.headers().firstValue("X-Warnings").orElse(null));
    }

    private static void write(ByteArrayOutputStream form, String text) throws Exception {
        form.write(text.getBytes(StandardCharsets.UTF_8));
    }

    private static void print(String way, int status, String body, String warnings) throws Exception {
        Map<String, Object> line = new LinkedHashMap<>();
        JsonNode answer = JSON.readTree(body);
        line.put("way", way);
        line.put("status", status);
        line.put("answer", answer);
        line.put("warnings", warnings == null ? answer.path("warnings") : JSON.readTree(warnings));
        System.out.write((JSON.writeValueAsString(line) + "\n").getBytes(StandardCharsets.UTF_8));
    }
}
